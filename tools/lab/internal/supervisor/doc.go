// Package supervisor is the running lab: one process that makes the nodes, starts Kubernetes in them, keeps it
// running and tells how it is.
//
// The lab is one PID namespace with one network and one mount namespace for the control plane, and a network, mount
// and UTS namespace for each node. Nothing is bound, mounted or configured in the machine's own namespaces; the only
// way in is two sockets that 'lab up' opens there and hands over (see the file descriptors in settings.go). When
// the first process of the PID namespace ends, for whatever reason, the kernel ends all others and with them every
// mount, interface, route and packet filter of the lab. What stays is the lab's folder and empty control groups.
//
// It builds nothing, and it decides nothing about the machine: package lab does that before it starts a supervisor.
package supervisor
