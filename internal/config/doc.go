// Package config reads firehosed's configuration file: one YAML document,
// decoded strictly into the typed Config structs of the components.
//
// A Document is read and expanded once; Value points into it and decodes itself
// into any struct by its yaml tags. Whatever is wrong is collected, with file,
// line, column and key, so that all problems are reported at once:
//
//	doc, err := config.Load("firehosed.yaml", os.LookupEnv)
//	...
//	file := DefaultFile()
//	doc.Root().Decode(&file)
//	if err := doc.Err(); err != nil { // every problem, in the order of the file
//		return err
//	}
//
// What the decoder makes of a Go type is all there is to know about the syntax
// of the file, so the JSON Schema for editors and the printed form come from the
// same types: see Schema and Print.
//
// Rules of the syntax:
//   - An unknown key is an error, with a suggestion if it looks misspelt.
//   - ${NAME} and ${NAME:-default} in a value stand for an environment variable,
//     $${ for a literal ${. A missing variable is an error.
//   - A time.Duration is written 60s, 5m or 1h30m. An integer whose key ends in
//     _bytes, _size or _budget may be written 64KiB, 256MiB or 1GiB.
//   - A secret is a reference, {env: NAME} or {file: PATH}, never the text itself.
//   - Anchors, aliases and merge keys (<<) work as in YAML 1.1.
package config
