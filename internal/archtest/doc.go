// Package archtest holds the rules of the house as tests: which package may
// import which, where a third-party module lives, and that every direct
// dependency is explained in docs/dependencies.md.
package archtest
