"""What reading a CSV file costs, as ratios to the standard library's readers on the same file.

python -m benchmarks.files [--rows 200000]
"""

_ROUNDS = 7
