// Package traffic keeps the flows that clusters report and answers questions about them.
//
//  1. A batch that [Store.Add] took is on disk and synced, and is not taken twice while it is kept. When the store is full
//     the oldest batches go.
//  2. A flow is stored as it was reported. What stands behind its ends, their names and labels, is looked up when it is asked
//     for ([World]); a workload that is gone since is only an address.
//  3. A query reads the newest batches first, and stops nowhere but at its end: Matches counts all, rows are those of the
//     newest flows where there are more than may be had.
//
// It knows no HTTP and no objects of the console.
package traffic
