"""The boards, as code: what each panel asks, in which unit, drawn how."""
