package enforcer

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNoKubernetesClient holds the design's arrow: the enforcer's module graph has no client-go.
func TestNoKubernetesClient(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./...")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		for _, forbidden := range []string{"k8s.io/client-go", "k8s.io/apimachinery", "k8s.io/api/"} {
			if strings.HasPrefix(pkg, forbidden) {
				t.Errorf("the enforcer depends on %s", pkg)
			}
		}
	}
}
