package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is a package, parsed and with types.
type source struct {
	dir   string
	name  string
	set   *token.FileSet
	files map[string]*ast.File // by base name
	text  map[string][]byte
	info  *types.Info
}

// listed is what go list says of a package.
type listed struct {
	Dir        string
	Name       string
	ImportPath string
	Export     string
	GoFiles    []string
	DepOnly    bool
}

// load reads the package in a directory. The types of what it imports come from the compiler's export data.
func load(ctx context.Context, dir string) (*source, error) {
	packages, err := list(ctx, dir)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	var own listed
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			own = p
		}
	}
	s := &source{dir: own.Dir, name: own.Name, set: token.NewFileSet(), files: map[string]*ast.File{}, text: map[string][]byte{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}}
	if err := s.parse(own.GoFiles); err != nil {
		return nil, err
	}
	return s, s.check(own.ImportPath, exports)
}

func list(ctx context.Context, dir string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=Dir,Name,ImportPath,Export,GoFiles,DepOnly", ".")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("go list in %s: %w: %s", dir, err, exit.Stderr)
		}
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list in %s: %w", dir, err)
		}
		packages = append(packages, p)
	}
}

func (s *source) parse(names []string) error {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(s.set, filepath.Join(s.dir, name), text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s.files[name], s.text[name] = file, text
	}
	return nil
}

func (s *source) check(path string, exports map[string]string) error {
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(s.set, "gc", open)}
	var files []*ast.File
	for _, f := range s.files {
		files = append(files, f)
	}
	_, err := config.Check(path, s.set, files, s.info)
	return err
}

// textOf gives the source of a node, in one line.
func (s *source) textOf(n ast.Node) string {
	from, to := s.set.Position(n.Pos()), s.set.Position(n.End())
	text := string(s.text[filepath.Base(from.Filename)][from.Offset:to.Offset])
	return strings.Join(strings.Fields(text), " ")
}
