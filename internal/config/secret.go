package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
)

// A secret is a field of one of these types, which components declare
// themselves; none of them ever holds text that was written into the file:
//
//	Password Secret                 // a struct with string fields Env and File
//	Token    func() (string, error) // reads the secret afresh, so that it can be rotated
//	Token    func(context.Context) (string, error)
//	Key      string `secret:"true"` // read once, when the file is loaded
type secretKind int

const (
	noSecret secretKind = iota
	secretRef
	secretFunc
	secretFuncCtx
	secretText
)

func secretOf(t reflect.Type, tag reflect.StructTag) secretKind {
	switch {
	case t.Kind() == reflect.Struct && strings.HasSuffix(t.Name(), "Secret") && stringField(t, "Env") && stringField(t, "File"):
		return secretRef
	case t.Kind() == reflect.Func && t.ConvertibleTo(reflect.TypeFor[func() (string, error)]()):
		return secretFunc
	case t.Kind() == reflect.Func && t.ConvertibleTo(reflect.TypeFor[func(context.Context) (string, error)]()):
		return secretFuncCtx
	case t.Kind() == reflect.String && tag.Get("secret") == "true":
		return secretText
	}
	return noSecret
}

func stringField(t reflect.Type, name string) bool {
	f, ok := t.FieldByName(name)
	return ok && f.Type.Kind() == reflect.String
}

// reference is how a secret is written.
type reference struct {
	Env  string `yaml:"env"`  // name of the environment variable that holds it
	File string `yaml:"file"` // path of the file that holds it; a newline at the end is cut off
}

// decodeSecret reads a reference and checks that it leads to something.
func (v Value) decodeSecret(rv reflect.Value, kind secretKind) {
	if v.isScalar() {
		v.Problem("a secret must not stand in the file: write {env: NAME} or {file: PATH}")
		return
	}
	var ref reference
	before := len(v.doc.problems)
	v.Decode(&ref)
	if len(v.doc.problems) > before {
		return
	}
	if (ref.Env == "") == (ref.File == "") {
		v.Problem("a secret has either an env or a file: write {env: NAME} or {file: PATH}")
		return
	}
	text, err := v.doc.secrets(ref.Env, ref.File)
	if err != nil {
		v.Problem("%v", err)
		return
	}
	v.doc.refs[v.path] = ref
	read := v.doc.secrets
	switch kind {
	case secretRef:
		rv.FieldByName("Env").SetString(ref.Env)
		rv.FieldByName("File").SetString(ref.File)
	case secretFunc:
		f := func() (string, error) { return read(ref.Env, ref.File) }
		rv.Set(reflect.ValueOf(f).Convert(rv.Type()))
	case secretFuncCtx:
		f := func(context.Context) (string, error) { return read(ref.Env, ref.File) }
		rv.Set(reflect.ValueOf(f).Convert(rv.Type()))
	case secretText:
		rv.SetString(text)
	case noSecret:
	}
}

// secretReader returns a function that reads what a reference leads to.
func secretReader(lookup func(string) (string, bool)) func(env, file string) (string, error) {
	return func(env, file string) (string, error) {
		if env != "" {
			text, ok := lookup(env)
			if !ok || text == "" {
				return "", fmt.Errorf("environment variable %s is not set: it should hold the secret", env)
			}
			return text, nil
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
			return "", fmt.Errorf("others may write to %s, which holds the secret: take that away, as with chmod go-w", file)
		}
		text, err := os.ReadFile(file)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("there is no file %s: it should hold the secret", file)
		case errors.Is(err, os.ErrPermission):
			return "", fmt.Errorf("the secret in %s cannot be read as user %d: give that user permission to read it", file, os.Getuid())
		case err != nil:
			return "", fmt.Errorf("read secret: %w", err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
}
