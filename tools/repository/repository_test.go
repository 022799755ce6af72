package repository

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/ringfence/ringfence/"

// root is the repository's, seen from this package.
const root = "../.."

// forEachPackage calls f for every Go package of the repository with its path below the root and its files.
func forEachPackage(t *testing.T, f func(dir string, files map[string]*ast.File)) {
	t.Helper()
	packages := map[string]map[string]*ast.File{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "out" || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		file, err := parser.ParseFile(set, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		if packages[dir] == nil {
			packages[dir] = map[string]*ast.File{}
		}
		packages[dir][filepath.Base(p)] = file
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("found %d packages: the walk does not see the repository", len(packages))
	}
	for dir, files := range packages {
		f(dir, files)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	forEachPackage(t, func(dir string, files map[string]*ast.File) {
		for name, file := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if file.Doc != nil && len(strings.TrimSpace(file.Doc.Text())) > 40 || generated(file) {
				return
			}
		}
		for name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s: no package comment that says what it is for", dir)
				return
			}
		}
	})
}

func generated(file *ast.File) bool { return ast.IsGenerated(file) }

func TestNoPackageIsNamedForNothing(t *testing.T) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "base", "shared"}
	forEachPackage(t, func(dir string, files map[string]*ast.File) {
		for name, file := range files {
			for _, word := range []string{file.Name.Name, path.Base(dir), strings.TrimSuffix(name, ".go")} {
				if slices.Contains(empty, word) {
					t.Errorf("%s/%s: %q says nothing of what is in it", dir, name, word)
				}
			}
		}
	})
}

// TestArrows holds the arrows that must never appear (docs/architecture.md).
func TestArrows(t *testing.T) {
	service := func(p string) string {
		rest, ok := strings.CutPrefix(p, "services/")
		if !ok {
			return ""
		}
		return strings.SplitN(rest, "/", 2)[0]
	}
	forEachPackage(t, func(dir string, files map[string]*ast.File) {
		for name, file := range files {
			for _, spec := range file.Imports {
				imported := strings.Trim(spec.Path.Value, `"`)
				ours, isOurs := strings.CutPrefix(imported, module)
				refuse := func(why string) { t.Errorf("%s/%s imports %s: %s", dir, name, imported, why) }
				switch {
				case strings.HasPrefix(dir, "libs/") && isOurs && service(ours) != "":
					refuse("libs never import services")
				case service(dir) != "" && isOurs && service(ours) != "" && service(dir) != service(ours):
					refuse("services never import each other")
				case service(dir) != "" && isOurs && strings.HasPrefix(ours, "tools/"):
					refuse("services never import tools")
				case dir == "libs/clas" && !strings.HasSuffix(name, "_test.go") && !engineMayImport(imported):
					refuse("the engine imports proto, the standard library and data-structure libraries, and does no I/O")
				case service(dir) == "enforcer" && strings.HasPrefix(imported, "k8s.io/client-go"):
					refuse("the enforcer never talks to Kubernetes")
				case strings.HasPrefix(dir, "proto/") && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") &&
					!strings.HasPrefix(imported, "google.golang.org/protobuf/") && !isOurs:
					refuse("proto imports nothing but the protobuf runtime")
				}
			}
		}
	})
}

// engineMayImport refuses what does I/O, and every source of randomness but hash/maphash, whose seed differs from process to
// process: it may place things in memory, and the engine's own tests hold that nothing of it comes out.
func engineMayImport(p string) bool {
	if !strings.Contains(strings.SplitN(p, "/", 2)[0], ".") { // the standard library
		return !slices.Contains([]string{
			"os", "net", "net/http", "crypto/rand", "math/rand", "math/rand/v2", "io/fs", "os/exec", "log", "log/slog", "runtime",
		}, p)
	}
	return strings.HasPrefix(p, module+"proto/") || strings.HasPrefix(p, "google.golang.org/protobuf/") ||
		p == "go4.org/netipx"
}

// TestEngineKnowsNoTime looks for the clock: the same facts must give the same policy whenever they are folded.
func TestEngineKnowsNoTime(t *testing.T) {
	forEachPackage(t, func(dir string, files map[string]*ast.File) {
		if dir != "libs/clas" {
			return
		}
		for name, file := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := call.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Tick"}, call.Sel.Name) {
						t.Errorf("%s/%s reads the clock: time.%s", dir, name, call.Sel.Name)
					}
				}
				if g, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s/%s starts a goroutine at offset %d", dir, name, g.Pos())
				}
				return true
			})
		}
	})
}

func modules(t *testing.T) map[string]*modfile.File {
	t.Helper()
	found := map[string]*modfile.File{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "out") {
			return filepath.SkipDir
		}
		if d.Name() != "go.mod" {
			return nil
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := modfile.Parse(p, data, nil)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(p))
		found[dir] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestModules(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		t.Fatal(err)
	}
	work, err := modfile.ParseWork("go.work", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, use := range work.Use {
		used = append(used, path.Clean(use.Path))
	}
	slices.Sort(used)
	want := []string{"libs", "proto", "services/enforcer", "services/pce-bridge", "services/policy-store", "services/watcher", "tools"}
	if !slices.Equal(used, want) {
		t.Errorf("go.work uses %v, want %v", used, want)
	}
	for dir, file := range modules(t) {
		if name := module + dir; file.Module.Mod.Path != name {
			t.Errorf("%s/go.mod is module %s, want %s", dir, file.Module.Mod.Path, name)
		}
		if !slices.Contains(used, dir) {
			continue // developer tools, the lab and benchmark peers keep their own graphs
		}
		for _, r := range file.Replace {
			target := path.Join(dir, r.New.Path)
			if r.New.Version != "" || module+target != r.Old.Path {
				t.Errorf("%s/go.mod replaces %s by %s: only siblings of the workspace may be replaced", dir, r.Old.Path, r.New.Path)
			}
		}
		for _, r := range file.Require {
			if sibling, ok := strings.CutPrefix(r.Mod.Path, module); ok && !replaced(file, r.Mod.Path) {
				t.Errorf("%s/go.mod requires %s without a replace: it does not build outside the workspace", dir, sibling)
			}
		}
	}
}

func replaced(file *modfile.File, p string) bool {
	return slices.ContainsFunc(file.Replace, func(r *modfile.Replace) bool { return r.Old.Path == p })
}

// TestDocumentedCommandsExist finds every `make TARGET` of the documents and asks the Makefile for it.
func TestDocumentedCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllSubmatch(makefile, -1) {
		targets[string(match[1])] = true
	}
	command := regexp.MustCompile("(?m)(?:^|[`$ ])make ([a-z0-9][a-z0-9-]*)(?:`|$|[ ;,.)])")
	documents, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, more...) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range codeIn(text) {
			for _, match := range command.FindAllSubmatch(block, -1) {
				if !targets[string(match[1])] {
					t.Errorf("%s names make %s, which the Makefile does not have", document, match[1])
				}
			}
		}
	}
}

// codeIn returns the code blocks and code spans of a Markdown text.
func codeIn(text []byte) [][]byte {
	var blocks [][]byte
	for i, part := range bytes.Split(text, []byte("```")) {
		if i%2 == 1 {
			blocks = append(blocks, part)
			continue
		}
		for j, span := range bytes.Split(part, []byte("`")) {
			if j%2 == 1 {
				blocks = append(blocks, span)
			}
		}
	}
	return blocks
}

// TestEveryTargetIsExplained wants a line of help for each target that is not a file.
func TestEveryTargetIsExplained(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	help := exec.Command("make", "-C", root, "help")
	out, err := help.Output()
	if err != nil {
		t.Fatalf("make help: %v", err)
	}
	for _, match := range regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`).FindAllSubmatch(makefile, -1) {
		if !regexp.MustCompile(`(?m)^  ` + string(match[1]) + ` `).Match(out) {
			t.Errorf("make help says nothing of %s", match[1])
		}
	}
}
