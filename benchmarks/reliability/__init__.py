"""What a run survives, measured: every row of the table in docs/reliability.md.

python -m benchmarks.reliability                    all rows in their short form (minutes)
python -m benchmarks.reliability --full             all rows in full
python -m benchmarks.reliability kills --count 50   one row, that many times
python -m benchmarks.reliability --table            write the table of the figures last reached into the docs
"""
