//go:build !race

package model

const detecting = false
