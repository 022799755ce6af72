module github.com/ringfence/ringfence/proto

go 1.26.0
