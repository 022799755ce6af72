package access

// Nodes is the account of the enforcers.
const Nodes = "NODES"

// Export is what an account takes over from the one that holds the log.
type Export struct {
	Subject string
	// Heard subjects are listened to; the others are sent to the log, and answered where the request asks for it.
	Heard bool
}

// Exports lists what the account Nodes takes over. Which of it a single node may use is in its rights.
func Exports() []Export {
	return []Export{
		{Subject: "policy.window", Heard: true},
		{Subject: "plan.*", Heard: true},
		{Subject: "status.*"},
		{Subject: "flows.*"},
		{Subject: "$JS.API.DIRECT.GET.POLICY.policy.>"},
		{Subject: "$JS.API.DIRECT.GET.PLAN.plan.*"},
	}
}
