module github.com/ringfence/ringfence/tools/lab

go 1.26.0
