module portolan/tests/benchmarks/loadgen

go 1.23
