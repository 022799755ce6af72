package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"
)

// mutant is one change of the source.
type mutant struct {
	id       int // from 1; 0 is the source as it is
	file     string
	line     int
	function string
	// change says what is different, in words and source.
	change string
	// repeat counts equal changes within a function, from 1.
	repeat int
}

// key names the mutant without its line, so that it stays the same while other lines change.
func (m mutant) key() string {
	key := fmt.Sprintf("%s %s: %s", m.file, m.function, m.change)
	if m.repeat > 1 {
		key += fmt.Sprintf(" (%d)", m.repeat)
	}
	return key
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d %s", m.file, m.line, m.key()) }

func matching(mutants []mutant, pattern *regexp.Regexp) []mutant {
	if pattern == nil {
		return mutants
	}
	return slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !pattern.MatchString(m.String()) })
}

// instrumented is a package with all of its mutants in it.
type instrumented struct {
	*source
	mutants  []mutant
	replaced map[string][]byte // by base name
}

// edit replaces bytes of a file. Edits at one offset keep their order, but that those which close come first.
type edit struct {
	at, length int
	text       string
	closes     bool
}

// instrumenter visits one file and collects the edits that make it hold its mutants.
type instrumenter struct {
	*instrumented
	name     string
	function string
	repeats  map[string]int
	edits    []edit
	// assigned are expressions that are not values here: operands of & and left sides.
	assigned map[ast.Expr]bool
	// parents gives what each expression is part of.
	parents map[ast.Expr]ast.Node
}

// instrument puts mutants into the files. A file may be followed by a colon and a pattern of the functions in it.
func (s *source) instrument(files []string) (*instrumented, error) {
	out := &instrumented{source: s, replaced: map[string][]byte{}}
	for _, argument := range files {
		name, functions, _ := strings.Cut(argument, ":")
		wanted, err := regexp.Compile("^(" + functions + ")$")
		if err != nil {
			return nil, fmt.Errorf("functions of %s: %w", name, err)
		}
		file := s.files[name]
		if file == nil {
			return nil, fmt.Errorf("%s has no file %s", s.dir, name)
		}
		i := &instrumenter{instrumented: out, name: name, repeats: map[string]int{}, assigned: map[ast.Expr]bool{}, parents: map[ast.Expr]ast.Node{}}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && (functions == "" || wanted.MatchString(f.Name.Name)) {
				i.function = functionName(f)
				i.body(f.Body, f.Type.Results != nil)
			}
		}
		out.replaced[name] = apply(s.text[name], i.edits)
	}
	return out, nil
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return "(" + types.ExprString(f.Recv.List[0].Type) + ")." + f.Name.Name
}

func apply(text []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.at, b.at), compareBool(b.closes, a.closes))
	})
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, text[at:e.at]...), e.text...)
		at = e.at + e.length
	}
	return append(out, text[at:]...)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// add makes a mutant at a node and returns its number.
func (i *instrumenter) add(n ast.Node, format string, args ...any) int {
	change := fmt.Sprintf(format, args...)
	key := i.function + ": " + change
	i.repeats[key]++
	m := mutant{id: len(i.mutants) + 1, file: i.name, line: i.set.Position(n.Pos()).Line, function: i.function, change: change, repeat: i.repeats[key]}
	i.mutants = append(i.mutants, m)
	return m.id
}

func (i *instrumenter) offset(p token.Pos) int { return i.set.Position(p).Offset }

// wrap surrounds a node.
func (i *instrumenter) wrap(n ast.Node, before, after string, inner func()) {
	i.edits = append(i.edits, edit{at: i.offset(n.Pos()), text: before})
	inner()
	i.edits = append(i.edits, edit{at: i.offset(n.End()), text: after, closes: true})
}

func (i *instrumenter) replace(p token.Pos, length int, text string) {
	i.edits = append(i.edits, edit{at: i.offset(p), length: length, text: text})
}

// body visits the statements of a function. Where it has results its last statement must go on ending it.
func (i *instrumenter) body(b *ast.BlockStmt, results bool) {
	for n, s := range b.List {
		i.statement(s, results && n == len(b.List)-1)
	}
}

func (i *instrumenter) block(list []ast.Stmt, ends bool) {
	for n, s := range list {
		i.statement(s, ends && n == len(list)-1)
	}
}

// statement visits a statement; ends says that the function may not go on behind it.
func (i *instrumenter) statement(s ast.Stmt, ends bool) {
	visit := func() { i.parts(s, ends) }
	if words := droppable(s, i.info); words != "" && !ends {
		id := i.add(s, "%s%s", words, i.shortened(s))
		i.wrap(s, fmt.Sprintf("if mutantIsNot(%d) { ", id), " }", visit)
		return
	}
	visit()
}

// shortened is the text of a statement up to its block.
func (i *instrumenter) shortened(s ast.Stmt) string {
	text, _, cut := strings.Cut(i.textOf(s), " {")
	if cut {
		text += " …"
	}
	return "`" + text + "`"
}

// droppable says in words what it means to leave the statement out, or nothing where that cannot be.
func droppable(s ast.Stmt, info *types.Info) string {
	switch s := s.(type) {
	case *ast.ExprStmt:
		if call, ok := s.X.(*ast.CallExpr); ok {
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "panic" {
				return ""
			}
		}
		return "without "
	case *ast.AssignStmt:
		if s.Tok != token.DEFINE && !blank(s.Lhs) {
			return "without "
		}
	case *ast.IncDecStmt, *ast.RangeStmt:
		return "without "
	case *ast.ForStmt:
		if s.Cond != nil {
			return "without "
		}
	case *ast.BranchStmt:
		if s.Tok == token.BREAK || s.Tok == token.CONTINUE {
			return "without "
		}
	}
	return ""
}

func blank(list []ast.Expr) bool {
	return !slices.ContainsFunc(list, func(e ast.Expr) bool {
		id, ok := e.(*ast.Ident)
		return !ok || id.Name != "_"
	})
}

// parts visits what a statement consists of.
func (i *instrumenter) parts(s ast.Stmt, ends bool) {
	switch s := s.(type) {
	case *ast.BlockStmt:
		i.block(s.List, ends)
	case *ast.IfStmt:
		i.simple(s.Init)
		i.expression(s.Cond)
		i.block(s.Body.List, ends)
		if s.Else != nil {
			i.parts(s.Else, ends)
		}
	case *ast.ForStmt:
		i.simple(s.Init)
		i.expression(s.Cond)
		i.simple(s.Post)
		i.block(s.Body.List, false)
	case *ast.RangeStmt:
		i.expression(s.X)
		i.block(s.Body.List, false)
	case *ast.SwitchStmt:
		i.simple(s.Init)
		i.expression(s.Tag)
		i.clauses(s.Body, s.Tag != nil, ends)
	case *ast.TypeSwitchStmt:
		i.simple(s.Init)
		i.clauses(s.Body, true, ends)
	case *ast.LabeledStmt:
		i.parts(s.Stmt, ends)
	default:
		i.simple(s)
	}
}

// clauses visits the cases of a switch. With a tag a case is left out by leaving it at once, unless the function ends there.
func (i *instrumenter) clauses(body *ast.BlockStmt, tagged, ends bool) {
	for _, s := range body.List {
		clause := s.(*ast.CaseClause)
		if !tagged {
			for _, e := range clause.List {
				i.expression(e)
			}
		}
		if tagged && !ends && len(clause.Body) > 0 {
			name := "default"
			if clause.List != nil {
				var cases []string
				for _, e := range clause.List {
					cases = append(cases, i.textOf(e))
				}
				name = "case " + strings.Join(cases, ", ")
			}
			id := i.add(clause, "nothing in `%s`", name)
			i.edits = append(i.edits, edit{at: i.offset(clause.Colon) + 1, text: fmt.Sprintf(" if mutantIs(%d) { break };", id)})
		}
		i.block(clause.Body, ends)
	}
}

// simple visits the expressions of a statement without blocks.
func (i *instrumenter) simple(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		for _, e := range s.Lhs {
			i.assigned[e] = true
			i.expression(e)
		}
		for _, e := range s.Rhs {
			i.expression(e)
		}
	case *ast.ReturnStmt:
		for _, e := range s.Results {
			i.expression(e)
		}
	case *ast.ExprStmt:
		i.inside(s.X) // nobody asks for its value
	case *ast.DeferStmt:
		i.expression(s.Call)
	case *ast.DeclStmt:
		for _, spec := range s.Decl.(*ast.GenDecl).Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				for _, e := range v.Values {
					i.expression(e)
				}
			}
		}
	}
}
