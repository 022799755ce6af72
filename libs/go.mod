module github.com/ringfence/ringfence/libs

go 1.26.0

require github.com/ringfence/ringfence/proto v0.0.0

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/rs/zerolog v1.35.1 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/ringfence/ringfence/proto => ../proto
