package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/tools/shop"
)

func TestProbeExitsZeroWithJSONOnly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := listener.Addr().String()
	_ = listener.Close()

	for _, format := range []string{"json", "text"} {
		parser, err := kong.New(&cli{})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.Parse([]string{"probe", "-o", format, "--timeout", "10s", target})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		parsed.BindTo(context.Background(), (*context.Context)(nil))
		parsed.BindTo(&out, (*io.Writer)(nil))
		err = parsed.Run()
		if failed := err != nil; failed != (format == "text") {
			t.Errorf("-o %s: error %v", format, err)
		}
		if format != "json" {
			continue
		}
		var results []shop.Result
		if err := json.Unmarshal(out.Bytes(), &results); err != nil {
			t.Fatalf("output %q: %v", out.String(), err)
		}
		if len(results) != 1 || results[0].Target != target || results[0].Connected || results[0].Error == "" {
			t.Errorf("results %+v", results)
		}
	}
}
