// Package service is what every service of Ringfence shares around its own work: reading its configuration from flags
// and environment, logging, metrics, health, and an orderly stop.
//
// It promises:
//
//  1. A configuration that cannot be right ends the process with exit code 2 and a sentence that names the setting.
//  2. SIGINT and SIGTERM cancel the context that the service runs under; the service returns in its own time.
//  3. A service is live while its process serves /healthz, and ready (/readyz) once every component that it declared
//     reported no error. /readyz lists the components that are not ready, and why.
//
// It is not a framework: it knows nothing of the log, of Kubernetes or of policy, and starts no work of its own but the
// HTTP server for health and metrics.
package service
