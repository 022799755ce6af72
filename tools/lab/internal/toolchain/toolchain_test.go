package toolchain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
)

const source = "../.." // tools/lab

// TestRecipes checks that every recipe has a module that pins what it builds.
func TestRecipes(t *testing.T) {
	for _, r := range recipes() {
		mod, err := os.ReadFile(filepath.Join(source, r.Module, "go.mod"))
		if err != nil {
			t.Error(err)
			continue
		}
		for i, p := range r.Packages {
			if !strings.HasPrefix(p, ".") && !regexp.MustCompile(`(?m)^(tool |\t)`+regexp.QuoteMeta(p)+`$`).Match(mod) {
				t.Errorf("%s: %s is no tool of %s/go.mod", r.Name, p, r.Module)
			}
			if len(r.Packages) > 1 && filepath.Base(p) != r.Programs[i] {
				t.Errorf("%s: package %s makes no program %s", r.Name, p, r.Programs[i])
			}
		}
	}
}

// TestVersions checks the versions that are written a second time outside of go.mod.
func TestVersions(t *testing.T) {
	for module, want := range map[string]string{
		"kubernetes": "k8s.io/kubernetes v" + kubernetesVersion,
		"coredns":    "github.com/coredns/coredns v" + config.CoreDNSImage[strings.LastIndex(config.CoreDNSImage, ":")+1:],
	} {
		mod, err := os.ReadFile(filepath.Join(source, "toolchain", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(mod, []byte(want)) {
			t.Errorf("toolchain/%s/go.mod does not require %s", module, want)
		}
	}
}

// TestKey checks that the cache folder changes with every source, and with nothing else.
func TestKey(t *testing.T) {
	copied := t.TempDir()
	for _, dir := range []string{"toolchain", "pause"} {
		if err := os.CopyFS(filepath.Join(copied, dir), os.DirFS(filepath.Join(source, dir))); err != nil {
			t.Fatal(err)
		}
	}
	key := func(dir string) string {
		k, err := Builder{Source: dir}.key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key(source)
	if second := key(copied); second != first {
		t.Errorf("a copy of the sources has the key %s, the original %s", second, first)
	}
	sum := filepath.Join(copied, "toolchain", "runc", "go.sum")
	content, err := os.ReadFile(sum)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sum, append(content, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := key(copied); changed == first {
		t.Error("a changed go.sum has the same key")
	}
}

// TestFlags keeps the flags that decide whether the programs work at all.
func TestFlags(t *testing.T) {
	for _, r := range recipes() {
		flags := r.flags()
		if !slices.Contains(flags, "-trimpath") {
			t.Errorf("%s: paths of this machine would be in the program", r.Name)
		}
		if r.Name == "runc" && (!r.CGO || !slices.Contains(flags, "-tags=seccomp,netgo,osusergo")) {
			t.Errorf("runc without seccomp starts no pod: %v", flags)
		}
	}
}

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out, "kubernetes", 2881)
	for _, part := range []string{"internal/", "abi\nk8s.io/api/core/v1\ngo: downloading x v1\n# k8s.io/api\nfile.go:1:2: undefined: x\n"} {
		if n, err := m.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	m.show()
	m.done(errors.New("exit status 1"))
	for _, want := range []string{"build kubernetes: 2 of at most 2881 packages compiled", "build kubernetes: failed, 2 packages compiled"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if want := "go: downloading x v1\n# k8s.io/api\nfile.go:1:2: undefined: x"; m.tail() != want {
		t.Errorf("the end of the output is %q, want %q", m.tail(), want)
	}
}

func FuzzMeter(f *testing.F) {
	f.Add("internal/abi\n", "# x\n")
	f.Add("a", "b\n\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, two := &meter{}, &meter{}
		_, _ = one.Write([]byte(a + b))
		_, _ = two.Write([]byte(a))
		_, _ = two.Write([]byte(b))
		if one.compiled != two.compiled || one.tail() != two.tail() {
			t.Errorf("%q and %q: cutting the output in two changes what is read", a, b)
		}
	})
}

func TestInstallRefuses(t *testing.T) {
	missing := Requirement{Package: "libseccomp-dev", Met: func(context.Context) bool { return false }}
	met := Requirement{Package: "gcc", Met: func(context.Context) bool { return true }}
	var out bytes.Buffer
	if err := Install(t.Context(), &out, met); err != nil || out.Len() > 0 {
		t.Errorf("with nothing missing: %v, %q", err, out.String())
	}
	t.Setenv("PATH", t.TempDir()) // no apt-get
	err := Install(t.Context(), &out, met, missing)
	if err == nil || !strings.Contains(err.Error(), "needs what Debian calls libseccomp-dev: install it") {
		t.Errorf("without apt-get: %v", err)
	}
}

func TestEnsureOutsideTheRepository(t *testing.T) {
	if dir, err := SourceDir(t.TempDir()); err == nil {
		t.Errorf("found %s from a folder outside the repository", dir)
	}
	if _, err := (Builder{}).Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "inside a clone of the Ringfence repository") {
		t.Errorf("error %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := SourceDir(t.TempDir(), here)
	if want, _ := filepath.Abs(source); err != nil || dir != want {
		t.Errorf("found %s, %v; want %s", dir, err, want)
	}
}
