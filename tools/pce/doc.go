// Package pce runs the standalone policy console: a journal, the console over it, and TLS in front. It is for people who
// have no console, for the demo and for tests; what it serves is described by package console.
//
// One process serves one data folder. A second on the same folder is refused.
package pce
