package contain

import (
	"fmt"

	"github.com/agentcustody/custody/event"
)

// proof says in plain words how far a step is proven. Only a verified step begins with "verified".
func (s *Step) proof(at standing) string {
	_, isGate := s.Path.Gate()
	switch {
	case s.State == verified:
		return "verified: " + event.Escape(s.Evidence)
	case !isGate:
		return s.connectorClaim()
	case s.State == acknowledged && s.Observer == byGateway:
		return "NOT PROVEN (closed, and nothing has tried it yet)"
	case s.State == acknowledged:
		return "NOT PROVEN (agent's word only)"
	case at.over && at.lent:
		return "lease-expired (cooperative)"
	case s.State == delivered:
		return "NOT PROVEN (calls are still running)"
	case at.over:
		return "NOT PROVEN (no gate has connected)"
	}
	return fmt.Sprintf("NOT PROVEN (may act until %s)", at.until.UTC().Format("15:04:05"))
}

func (s *Step) connectorClaim() string {
	switch {
	case s.Doubt != "":
		return "NOT PROVEN (" + event.Escape(s.Doubt) + ")"
	case s.State == acknowledged:
		return "NOT PROVEN (the connector's word only)"
	case s.Open:
		return "NOT PROVEN (a call is on its way)"
	}
	return "NOT PROVEN (not called yet)"
}
