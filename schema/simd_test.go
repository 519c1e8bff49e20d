package schema

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// TestVectorsComeAfterTheQuestion: a variable of the package that is made by vector
// instructions ends the program, before anything else, on a CPU that does not have them.
func TestVectorsComeAfterTheQuestion(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "simd_amd64.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	asks, functions := false, map[string]bool{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			ast.Inspect(f, func(n ast.Node) bool {
				if p, ok := n.(*ast.SelectorExpr); ok && isPackage(p.X, "archsimd") {
					functions[f.Name.Name] = true
				}
				return true
			})
		}
	}
	for _, d := range file.Decls {
		vars, ok := d.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		ast.Inspect(vars, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if isPackage(n.X, "archsimd") {
					asks = asks || n.Sel.Name == "X86"
					if n.Sel.Name != "X86" {
						t.Errorf("a variable of the package needs archsimd.%s", n.Sel.Name)
					}
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && functions[f.Name] {
					t.Errorf("a variable of the package calls %s, which has vector instructions", f.Name)
				}
			}
			return true
		})
	}
	if !asks {
		t.Error("no variable asks for what the CPU has: this test looks at the wrong file")
	}
}

func isPackage(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}
