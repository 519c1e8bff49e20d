package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

const module = "github.com/firehosed/firehosed"

// comments reads the doc comments of struct types and their fields from the
// source of the packages of this module.
type comments struct {
	root string
	pkgs map[string]map[string]string // package path, then Type or Type.Field
	err  error
}

// of implements config.Doc.
func (c *comments) of(t reflect.Type, field string) string {
	path := t.PkgPath()
	if !strings.HasPrefix(path, module) || c.err != nil {
		return ""
	}
	if c.pkgs[path] == nil {
		c.pkgs[path], c.err = parse(filepath.Join(c.root, strings.TrimPrefix(path, module)))
	}
	name := t.Name()
	if field == "" {
		return keys(t, sentence(c.pkgs[path][name], name))
	}
	return keys(t, sentence(c.pkgs[path][name+"."+field], field))
}

var fieldName = regexp.MustCompile(`([a-z0-9,;(] )([A-Z][A-Za-z]+)\b`)

// keys writes the keys of a struct's fields in place of their Go names, which a
// comment uses within a sentence.
func keys(t reflect.Type, doc string) string {
	return fieldName.ReplaceAllStringFunc(doc, func(s string) string {
		m := fieldName.FindStringSubmatch(s)
		f, ok := t.FieldByName(m[2])
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); ok && key != "" {
			return m[1] + key
		}
		return s
	})
}

func parse(dir string) (map[string]string, error) {
	docs := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, s := range decl.Specs {
				spec, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if st, ok := spec.Type.(*ast.StructType); ok {
					docs[spec.Name.Name] = decl.Doc.Text() + spec.Doc.Text()
					structDocs(docs, spec.Name.Name, st)
				}
			}
			return false
		})
	}
	return docs, nil
}

func structDocs(docs map[string]string, name string, st *ast.StructType) {
	for _, f := range st.Fields.List {
		for _, id := range f.Names {
			docs[name+"."+id.Name] = f.Doc.Text() + f.Comment.Text()
		}
	}
}

// forCallers is a sentence for those who read the code: it links to a Go name.
var forCallers = regexp.MustCompile(`[^.]*\[[A-Z][A-Za-z.]*\][^.]*\.`)

// sentence makes a Go doc comment one about the key: one paragraph, without the
// name of the field at its start, and without sentences that link to a Go name.
func sentence(doc, field string) string {
	doc = strings.TrimSpace(forCallers.ReplaceAllString(strings.Join(strings.Fields(doc), " "), ""))
	for _, lead := range []string{field + " is ", field + " are ", field + " says ", field + " has ", field + " lists "} {
		if rest, ok := strings.CutPrefix(doc, lead); ok {
			verb := strings.TrimSpace(strings.TrimPrefix(lead, field))
			if verb != "is" && verb != "are" {
				rest = verb + " " + rest
			}
			doc = rest
			break
		}
	}
	if rest, ok := strings.CutPrefix(doc, field+" "); ok {
		doc = rest
	}
	if doc == "" {
		return ""
	}
	doc = strings.ToUpper(doc[:1]) + doc[1:]
	if !strings.HasSuffix(doc, ".") && !strings.HasSuffix(doc, ")") && !strings.HasSuffix(doc, "...") {
		doc += "."
	}
	return doc
}
