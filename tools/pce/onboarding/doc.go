// Package onboarding prepares a console and a cluster for each other: an API key for people, a container cluster with its token, a
// pairing key for its nodes, and what makes the cluster trust the console. It works on the data folder of a console that does not run
// ([Folder]), or asks one that does over the REST API ([Running]), and prints what came of it for people, for programs, or as values of
// the chart.
//
//  1. Doing it again changes nothing: what exists is found by its name.
//  2. A secret is given once, by the run that makes it; only its hash is kept. To see one again it is made anew, and only those that
//     [Request.Renew] names are.
package onboarding
