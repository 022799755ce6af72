module github.com/ringfence/ringfence/tools

go 1.26.0

require (
	github.com/ringfence/ringfence/libs v0.0.0
	github.com/ringfence/ringfence/proto v0.0.0
)

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/rs/zerolog v1.35.1 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace (
	github.com/ringfence/ringfence/libs => ../libs
	github.com/ringfence/ringfence/proto => ../proto
)
