"""What takes longer than a test may, with real processes and shipped models: ``python -m drills``, before a release."""
