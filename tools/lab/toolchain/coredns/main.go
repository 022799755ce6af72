// Command coredns is the lab's cluster DNS server: CoreDNS with the seven plugins that the lab's Corefile uses,
// and nothing else. The stock binary links every cloud provider and is a third larger.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order is the order of the plugin chain. template stands last: in the stock order it comes before
	// kubernetes, and its catch-all NXDOMAIN would answer every name of the cluster.
	dnsserver.Directives = []string{"health", "ready", "log", "errors", "cache", "kubernetes", "template"}
	coremain.Run()
}
