// Package lab is the lab as seen from the machine: bring it up, take it down, ask how it is, put images into it. It
// finds labs by looking at the processes of the machine, never by a PID file, so that it tells the truth after a
// crash too.
package lab
