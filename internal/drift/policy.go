package drift

import (
	"fmt"
	"slices"
)

// Policy says what follows when variants score less than their profile says. Whatever it
// is, the log, the status and the metrics report it.
type Policy uint8

// The policies.
const (
	// Replan plans with the smaller of the profile's accuracy and what the evidence
	// supports, so that floors hold again: at a higher cost, or by refusing requests.
	Replan Policy = iota
	// Report changes nothing.
	Report
	// Refuse refuses all requests with a floor until the evidence has recovered.
	Refuse
)

var policies = [...]string{Replan: "replan", Report: "report", Refuse: "refuse"}

// String is the policy's name in flags and in the status.
func (p Policy) String() string { return policies[p] }

// ParsePolicy reads a policy by its name.
func ParsePolicy(name string) (Policy, error) {
	if i := slices.Index(policies[:], name); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("%.40q is not a choice: use report, replan or refuse", name)
}
