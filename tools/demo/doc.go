// Package demo shows Ringfence at its main job on a real cluster: it installs the charts, deploys the sample shop,
// writes policy through the console's REST API, and probes what may talk to what with real packets at every step.
//
// It is for newcomers (make demo) and for the end-to-end tests, which run the same steps and then break things. It
// holds no expectation of its own beyond the sample's rules: every expectation is a line of the matrix, and every
// observation a connection between two pods.
package demo
