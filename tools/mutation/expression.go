package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
)

// expression visits an expression. Truth values become true and false, operators their neighbours.
func (i *instrumenter) expression(e ast.Expr) {
	if e == nil {
		return
	}
	if b, ok := e.(*ast.BinaryExpr); ok && (b.Op == token.LAND || b.Op == token.LOR) {
		i.conjunction(b)
		return
	}
	if i.isTruth(e) {
		i.truth(e)
		return
	}
	i.inside(e)
}

// conjunction visits a && b or a || b.
func (i *instrumenter) conjunction(b *ast.BinaryExpr) {
	function, other := "mutantAnd", "||"
	if b.Op == token.LOR {
		function, other = "mutantOr", "&&"
	}
	id := i.add(b, "%s for %s in `%s`", other, b.Op, i.textOf(b))
	i.wrap(b, fmt.Sprintf("%s(%d, ", function, id), ") })", func() {
		i.expression(b.X)
		i.replace(b.OpPos, len(b.Op.String()), ", func() bool { return (") // a bracket, since the operator may end a line
		i.expression(b.Y)
	})
}

// isTruth tells whether the expression is a value of type bool that can be had first and changed then.
func (i *instrumenter) isTruth(e ast.Expr) bool {
	tv, known := i.info.Types[e]
	if !known || !tv.IsValue() || i.assigned[e] {
		return false
	}
	basic, ok := tv.Type.(*types.Basic)
	if !ok || basic.Info()&types.IsBoolean == 0 {
		return false
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return false
	case *ast.UnaryExpr:
		return e.Op != token.NOT
	case *ast.Ident:
		return e.Name != "_"
	}
	return true
}

func (i *instrumenter) truth(e ast.Expr) {
	isTrue, isFalse := 0, 0
	tv := i.info.Types[e]
	if tv.Value == nil || !constant.BoolVal(tv.Value) {
		isTrue = i.add(e, "true for `%s`", i.textOf(e))
	}
	if tv.Value == nil || constant.BoolVal(tv.Value) {
		isFalse = i.add(e, "false for `%s`", i.textOf(e))
	}
	i.wrap(e, fmt.Sprintf("mutantBool(%d, %d, ", isTrue, isFalse), ")", func() { i.inside(e) })
}

// neighbours gives, for an order, the function that holds it and its neighbour.
var neighbours = map[token.Token]struct{ function, neighbour string }{
	token.LSS: {"mutantLess", "<="}, token.LEQ: {"mutantAtMost", "<"}, token.GTR: {"mutantMore", ">="}, token.GEQ: {"mutantAtLeast", ">"}}

// inside visits the parts of an expression.
func (i *instrumenter) inside(e ast.Expr) {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		i.binary(e)
	case *ast.UnaryExpr:
		if e.Op == token.AND {
			i.assigned[e.X] = true
		}
		i.expression(e.X)
	case *ast.ParenExpr:
		i.expression(e.X)
	case *ast.CallExpr:
		i.call(e)
	case *ast.SelectorExpr:
		if tv, known := i.info.Types[e.X]; known && tv.IsValue() {
			i.expression(e.X)
		}
	case *ast.IndexExpr:
		if tv, known := i.info.Types[e.X]; known && tv.IsValue() {
			i.expression(e.X)
			i.expression(e.Index)
		}
	case *ast.SliceExpr:
		i.expression(e.X)
		i.expression(e.Low)
		i.expression(e.High)
	case *ast.StarExpr:
		i.expression(e.X)
	case *ast.TypeAssertExpr:
		i.expression(e.X)
	case *ast.CompositeLit:
		i.literal(e)
	case *ast.FuncLit:
		i.body(e.Body, e.Type.Results != nil)
	}
}

func (i *instrumenter) literal(e *ast.CompositeLit) {
	_, isStruct := types.Unalias(i.info.Types[e].Type).Underlying().(*types.Struct)
	for _, element := range e.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			i.expression(element)
			continue
		}
		if !isStruct {
			i.expression(pair.Key)
		}
		i.expression(pair.Value)
	}
}

func (i *instrumenter) binary(e *ast.BinaryExpr) {
	n, ordered := neighbours[e.Op]
	if ordered && i.info.Types[e].Value == nil {
		id := i.add(e, "%s for %s in `%s`", n.neighbour, e.Op, i.textOf(e))
		i.wrap(e, fmt.Sprintf("%s(%d, ", n.function, id), ")", func() {
			i.expression(e.X)
			i.replace(e.OpPos, len(e.Op.String()), ",")
			i.expression(e.Y)
		})
		return
	}
	i.expression(e.X)
	if i.isStep(e) {
		id := i.add(e, "`%s` without the step", i.textOf(e))
		kind := types.TypeString(i.info.Types[e].Type, func(*types.Package) string { return "" })
		i.replace(e.Y.Pos(), 1, fmt.Sprintf("mutantStep[%s](%d)", kind, id))
		return
	}
	i.expression(e.Y)
}

// isStep recognises x + 1 and x - 1.
func (i *instrumenter) isStep(e *ast.BinaryExpr) bool {
	one, ok := e.Y.(*ast.BasicLit)
	_, basic := i.info.Types[e].Type.(*types.Basic)
	return ok && basic && one.Value == "1" && (e.Op == token.ADD || e.Op == token.SUB) && i.info.Types[e].Value == nil
}

func (i *instrumenter) call(e *ast.CallExpr) {
	if f, ok := e.Fun.(*ast.Ident); ok && len(e.Args) == 2 && (f.Name == "max" || f.Name == "min") && i.info.Types[f].IsBuiltin() {
		other := map[string]string{"max": "min", "min": "max"}[f.Name]
		id := i.add(e, "%s for %s in `%s`", other, f.Name, i.textOf(e))
		i.replace(f.Pos(), len(f.Name)+1, fmt.Sprintf("mutant%s(%d, ", map[string]string{"max": "Max", "min": "Min"}[f.Name], id))
	} else if tv := i.info.Types[e.Fun]; tv.IsValue() {
		i.inside(e.Fun)
	}
	for _, argument := range e.Args {
		if tv, known := i.info.Types[argument]; known && tv.IsValue() {
			i.expression(argument)
		}
	}
}
