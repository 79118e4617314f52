"""
Jobs: from a trigger to a promotion. dataset → finetune → evaluate → gate → promote.

`dataset`, `gate`, `promote` and `runner` are light and pure where they can be. `finetune`, `evaluate` and `generate` are
programs (`python -m driftwheel.jobs.finetune RUN_DIR`) that a `Launcher` runs in a process of their own; only there are
torch and its company imported. What passes between the two is a run folder (`folder.py`).
"""
