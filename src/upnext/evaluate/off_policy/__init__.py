"""What another policy would have earned, from what the logging policy showed (docs/off-policy.md). Start at `logged.py` and `report.py`."""
