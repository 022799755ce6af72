// Package repository holds the tests that guard the repository itself: its import arrows, its package comments and
// names, its module files, and the commands that its documents promise. It has no code of its own.
package repository
