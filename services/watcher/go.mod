module github.com/ringfence/ringfence/services/watcher

go 1.26.0

require (
	github.com/ringfence/ringfence/libs v0.0.0
	github.com/ringfence/ringfence/proto v0.0.0
)

replace (
	github.com/ringfence/ringfence/libs => ../../libs
	github.com/ringfence/ringfence/proto => ../../proto
)
