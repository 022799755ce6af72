// Package policyfile keeps the policy of a console as YAML, for people who have it under version control: label dimensions, labels,
// label groups, IP lists, services, virtual services, rule sets with their rules, enforcement boundaries, pairing profiles, container
// workload profiles, workloads that no agent manages, and the firewall settings.
//
//	export   console -> [Export] -> YAML
//	import   YAML -> [Parse] -> [NewPlan] -> [Plan.Apply] -> console
//
// What it promises:
//
//  1. Objects are named by what people call them, never by an href: a label is key=value, the others have their names, a profile its
//     cluster and namespace. The same file works with every console.
//  2. One policy has one text. Fields that have their default are left out, and lists, whose order means nothing to a console, are
//     sorted. What was exported, imported elsewhere and exported again is the same, byte for byte.
//  3. A plan says everything that would be done before anything is. It leaves alone what the files do not mention, unless it is to
//     prune: then the files are the whole of every kind that they have a section for. A second import changes nothing.
//  4. What cannot be is refused before anything is done, all of it at once, each with file, line, object and field. What cannot be
//     written down by names is an error of the export, never left out.
//
// Everything is written through the public REST API v2, to the draft; only provisioning, where it is asked for, makes it active, and only
// what the files name. Secrets (API keys, cluster tokens, pairing keys) and clusters are no policy: see package onboarding.
package policyfile
