"""Grading a folder of submissions against a teacher's reference; `compare.grade` puts these parts together."""
