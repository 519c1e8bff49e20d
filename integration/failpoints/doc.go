// Package failpoints takes every kill point of the program in turn: a worker that
// was built with the tag failpoint dies there, is started again, and must lose and
// repeat nothing. Some points are also taken as a zombie, which is stopped there,
// replaced, and goes on later, and some as an error that the worker has to live with.
//
// The tests need the tag, and no other program: the broker is in the test's process,
// the tables are in a local folder. About three minutes on two cores:
//
//	go test -tags failpoint -parallel 6 ./integration/failpoints
package failpoints
