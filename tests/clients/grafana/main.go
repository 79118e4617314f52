// Asks ClickHouse as Grafana's ClickHouse plugin does, with the same library and the same options.
//
// Arguments: port, user, compression (gzip is the plugin's over HTTP), settings of the data source as a JSON object.
// The password is in GRAFANA_PASSWORD. Each line of stdin is a question, each line of stdout its answer, in order.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type question struct {
	SQL      string   `json:"sql"`
	TimeoutS float64  `json:"timeout_s"` // the data source's query timeout: 60 unless told otherwise
	CancelS  float64  `json:"cancel_s"`  // somebody closes the board after so long
	Zone     string   `json:"zone"`      // that of the board
	Insert   []string `json:"insert"`    // rows of one text each
}

type answer struct {
	Columns [][2]string `json:"columns"`
	Rows    [][]any     `json:"rows"`
	Code    int32       `json:"code"`
	Error   string      `json:"error"`
	TookS   float64     `json:"took_s"`
}

var methods = map[string]clickhouse.CompressionMethod{
	"none": clickhouse.CompressionNone, "gzip": clickhouse.CompressionGZIP, "deflate": clickhouse.CompressionDeflate,
	"br": clickhouse.CompressionBrotli, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
}

func open(port, user, compression, settings string) (*sql.DB, error) {
	given, own := map[string]string{}, clickhouse.Settings{}
	if err := json.Unmarshal([]byte(settings), &given); err != nil {
		return nil, err
	}
	for name, value := range given {
		own[name] = value
	}
	options := &clickhouse.Options{
		Addr:        []string{"127.0.0.1:" + port},
		Auth:        clickhouse.Auth{Database: "driftwheel", Username: user, Password: os.Getenv("GRAFANA_PASSWORD")},
		Compression: &clickhouse.Compression{Method: methods[compression]},
		DialTimeout: 10 * time.Second,
		ReadTimeout: 60 * time.Second,
		Protocol:    clickhouse.HTTP,
		Settings:    own,
	}
	options.ClientInfo.Products = append(options.ClientInfo.Products, struct{ Name, Version string }{"grafana", "13.0.0"})
	db := clickhouse.OpenDB(options)
	db.SetConnMaxLifetime(5 * time.Minute)
	db.SetMaxIdleConns(25)
	db.SetMaxOpenConns(50)
	ctx, cancel := context.WithTimeout(context.Background(), options.DialTimeout)
	defer cancel()
	return db, db.PingContext(ctx)
}

func reply(db *sql.DB, q question) answer {
	began, said := time.Now(), answer{Columns: [][2]string{}, Rows: [][]any{}}
	if q.TimeoutS == 0 {
		q.TimeoutS = 60
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(q.TimeoutS*float64(time.Second)))
	defer cancel()
	if q.CancelS > 0 {
		time.AfterFunc(time.Duration(q.CancelS*float64(time.Second)), cancel)
	}
	chosen := []clickhouse.QueryOption{clickhouse.WithClientInfo(clickhouse.ClientInfo{Comment: []string{"grafana_user:admin"}})}
	if zone, err := time.LoadLocation(q.Zone); err == nil && q.Zone != "" {
		chosen = append(chosen, clickhouse.WithUserLocation(zone))
	}
	err := ask(clickhouse.Context(ctx, chosen...), db, q, &said)
	said.TookS = time.Since(began).Seconds()
	if err != nil {
		said.Error = err.Error()
		var exception *clickhouse.Exception
		if errors.As(err, &exception) {
			said.Code = exception.Code
		}
	}
	return said
}

func ask(ctx context.Context, db *sql.DB, q question, said *answer) error {
	if len(q.Insert) > 0 {
		return insert(ctx, db, q)
	}
	rows, err := db.QueryContext(ctx, q.SQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	for _, one := range types {
		said.Columns = append(said.Columns, [2]string{one.Name(), one.DatabaseTypeName()})
	}
	for rows.Next() {
		into := make([]any, len(types))
		for i, one := range types {
			into[i] = reflect.New(one.ScanType()).Interface()
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		said.Rows = append(said.Rows, into)
	}
	return rows.Err()
}

func insert(ctx context.Context, db *sql.DB, q question) error {
	transaction, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	batch, err := transaction.PrepareContext(ctx, q.SQL)
	if err != nil {
		return err
	}
	for _, text := range q.Insert {
		if _, err := batch.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return transaction.Commit()
}

func main() {
	out := json.NewEncoder(os.Stdout)
	db, err := open(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer db.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := out.Encode(reply(db, q)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
