module github.com/ringfence/ringfence/libs

go 1.26.0

require (
	github.com/ringfence/ringfence/proto v0.0.0
)

replace (
	github.com/ringfence/ringfence/proto => ../proto
)
