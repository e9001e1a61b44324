package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// scope says whether a line names the event's instance and run.
type scope bool

const (
	whole scope = true  // it does
	inRun scope = false // all lines are of one run, which stands above them
)

// describe is one event on one line: who, what, with which outcome and trust. What an agent wrote is escaped, and in quotes
// where it could be taken for anything else.
func describe(r *apiv1.EventRow, s scope) string {
	ev := parsed(r)
	if ev == nil {
		return fmt.Sprintf("%-28s  content not available, key %s, number %d", "("+r.GetVerdict()+")", short(r.GetKeyId()), r.GetSeq())
	}
	parts := []string{fmt.Sprintf("%-28s", event.Action(ev))}
	if s == whole {
		parts = append(parts, fmt.Sprintf("%-12s", dash(ev.GetInstance())), fmt.Sprintf("%-12s", dash(ev.GetRun())))
	}
	parts = append(parts, subject(ev)...)
	return strings.TrimRight(strings.Join(append(parts, marks(r, ev)...), "  "), " ")
}

// subject says what the event is about.
func subject(ev *eventv1.Event) []string {
	switch {
	case ev.GetExecution() != nil:
		return executionWords(ev.GetExecution())
	case ev.GetData() != nil:
		d := ev.GetData()
		return given(word, d.GetSource(), d.GetResource(), d.GetDomain(), d.GetMemoryKey(), d.GetLabel())
	case ev.GetApproval() != nil:
		ap := ev.GetApproval()
		return joined(given(word, ap.GetTool()), given(by, ap.GetApprover()), given(to, ap.GetEscalatedTo()), given(word, ap.GetReason()))
	case ev.GetIdentity() != nil:
		i := ev.GetIdentity()
		return given(word, i.GetWorkflow(), i.GetModel(), i.GetRole(), i.GetDelegate(), event.Outcomes.Name(i.GetOutcome()))
	}
	return systemWords(ev.GetSystem())
}

func executionWords(x *eventv1.Execution) []string {
	return joined([]string{word(x.GetTool())}, given(word, x.GetOperation()), given(to, x.GetDestination()),
		given(word, event.Consequences.Name(x.GetConsequence()), event.Decisions.Name(x.GetDecision()), event.Outcomes.Name(x.GetOutcome()), x.GetPolicy(), x.GetReason()))
}

func systemWords(s *eventv1.System) []string {
	return joined(given(by, s.GetActor()), detailWords(s), given(word, s.GetReason()))
}

func detailWords(s *eventv1.System) []string {
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Genesis:
		return given(word, d.Genesis.GetDisplayName())
	case *eventv1.System_Instance:
		return given(word, d.Instance.GetInstance())
	case *eventv1.System_Manifest:
		return given(word, d.Manifest.GetInstance(), "version", strconv.FormatUint(uint64(d.Manifest.GetVersion()), 10))
	case *eventv1.System_Key:
		return given(word, short(d.Key.GetKeyId()), event.KeyActions.Name(d.Key.GetAction()), d.Key.GetInstance(), event.Producers.Name(d.Key.GetProducer()))
	case *eventv1.System_Grant:
		return given(word, d.Grant.GetPrincipal(), event.Roles.Name(d.Grant.GetRole()), flagged("revoked", d.Grant.GetRevoked()))
	case *eventv1.System_Access:
		return given(word, method(d.Access.GetMethod()), flagged("opened", d.Access.GetOpened()))
	case *eventv1.System_Refusal:
		return given(word, short(d.Refusal.GetEmitter()), d.Refusal.GetReason(), strconv.FormatUint(d.Refusal.GetCount(), 10), "times", d.Refusal.GetDetail())
	case *eventv1.System_Erasure:
		return given(word, d.Erasure.GetSubject())
	case *eventv1.System_Finding:
		return given(word, d.Finding.GetVerdict(), short(d.Finding.GetEmitter()))
	case *eventv1.System_Review:
		return given(word, d.Review.GetTopic(), d.Review.GetSubject(), d.Review.GetOutcome())
	case *eventv1.System_Firing:
		return given(word, d.Firing.GetRule(), strconv.FormatUint(uint64(d.Firing.GetVersion()), 10), short(d.Firing.GetFiring()), d.Firing.GetState())
	case *eventv1.System_Approval:
		ap := d.Approval
		return joined(given(word, event.ApprovalStates.Name(ap.GetState()), ap.GetTool(), ap.GetInstance(), ap.GetRun()), given(to, ap.GetEscalatedTo()))
	}
	return brakeWords(s)
}

// brakeWords are those of the brake's own events.
func brakeWords(s *eventv1.System) []string {
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Containment:
		x := d.Containment
		return given(word, x.GetTarget(), x.GetLevel(), event.ContainmentStates.Name(x.GetState()), x.GetPath(), x.GetEvidence(), flagged("GLASS BROKEN", x.GetBreakGlass()))
	case *eventv1.System_Expiry:
		return []string{"content from before " + stamp(d.Expiry.GetBefore())}
	case *eventv1.System_Fingerprint:
		return []string{fmt.Sprintf("key %d", d.Fingerprint.GetNumber())}
	case *eventv1.System_ExportKey:
		id := sha256.Sum256(d.ExportKey.GetPublicKey())
		return []string{"export key " + short(id[:])}
	case *eventv1.System_Lease:
		return []string{"for " + time.Duration(d.Lease.GetLasts()).String()}
	case *eventv1.System_Armed:
		failed := 0
		for _, c := range d.Armed.GetChecks() {
			if !c.GetProven() {
				failed++
			}
		}
		return []string{fmt.Sprintf("%d ways tried, %d UNPROVEN", len(d.Armed.GetChecks()), failed)}
	case *eventv1.System_Drill:
		return given(word, d.Drill.GetInstance(), d.Drill.GetLevel(), flagged("proven", d.Drill.GetProven()), flagged("UNPROVEN", !d.Drill.GetProven()))
	case *eventv1.System_Case:
		return given(word, d.Case.GetCase(), event.CaseActions.Name(d.Case.GetAction()), d.Case.GetTarget(), d.Case.GetClass(), flagged("not needed", d.Case.GetNotNeeded()))
	}
	return nil
}

// flagged is a word if it applies.
func flagged(word string, applies bool) string {
	if applies {
		return word
	}
	return ""
}

// method is the last part of a gRPC name.
func method(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// given shows the values that are not empty.
func given(show func(string) string, all ...string) []string {
	var out []string
	for _, s := range all {
		if s != "" {
			out = append(out, show(s))
		}
	}
	return out
}

func joined(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func by(s string) string { return "by " + word(s) }
func to(s string) string { return "to " + word(s) }

// accepted is the verdict that needs no mark.
const accepted = "accepted"

// marks are what must catch the eye: trust, verdict, producer, doubt. Nothing of an agent's can look like one.
func marks(r *apiv1.EventRow, ev *eventv1.Event) []string {
	var out []string
	if t := event.Trusts.Name(ev.GetTrust()); t != "" {
		out = append(out, "["+t+"]")
	}
	if r.GetVerdict() != accepted {
		out = append(out, "["+strings.ToUpper(r.GetVerdict())+"]")
	}
	if p := r.GetProducer(); p != eventv1.ProducerClass_PRODUCER_CLASS_AGENT && p != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		out = append(out, "["+event.Producers.Name(p)+"]")
	}
	if r.GetSuspect() {
		out = append(out, "[KEY IN DOUBT]")
	}
	if ev.GetOccurredAt()-r.GetReceivedAt() > int64(clockSlack) {
		out = append(out, "[CLOCK AHEAD]") // it is said to have happened after it was received
	}
	return out
}

const (
	// disclosed is the state of a sealed field whose content is in the answer.
	disclosed = "disclosed"
	// openedWidth is how much of a disclosed value a screen line shows, in runes.
	openedWidth = 400
)

// printOpened shows disclosed content under its event.
func printOpened(w io.Writer, r *apiv1.EventRow, indent string) {
	for _, f := range r.GetOpened() {
		text := "(" + f.GetState() + ")"
		if f.GetState() == disclosed {
			text = plain(string(f.GetValue()), openedWidth)
			if cut := f.GetSize() > uint64(len(f.GetValue())); cut {
				text += fmt.Sprintf(" (the beginning of %d bytes: custody content)", f.GetSize())
			}
		}
		fmt.Fprintf(w, "%s%s: %s\n", indent, word(f.GetPath()), text)
	}
}
