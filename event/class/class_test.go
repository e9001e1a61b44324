package class

import (
	"testing"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	low      = eventv1.Consequence_CONSEQUENCE_LOW
	moderate = eventv1.Consequence_CONSEQUENCE_MODERATE
	high     = eventv1.Consequence_CONSEQUENCE_HIGH
)

func TestNamesSayWhatACallDoes(t *testing.T) {
	tests := map[[2]string]Act{
		{"crm.read_contact", ""}:    {Read, low, Ordinary},
		{"listInvoices", ""}:        {Read, low, Ordinary},
		{"create_draft", ""}:        {Write, low, Ordinary},
		{"send_draft", ""}:          {Send, high, Ordinary},
		{"update_ticket", ""}:       {Write, moderate, Ordinary},
		{"update_customer", ""}:     {Write, high, Ordinary},
		{"create_invoice", ""}:      {Write, high, Financial},
		{"sendMoney", ""}:           {Send, high, Financial},
		{"issue_refunds", ""}:       {"", high, Financial},
		{"grant_role", ""}:          {Remove, high, Provisioning},
		{"delete_file", ""}:         {Remove, high, Ordinary},
		{"billing", "list"}:         {Read, low, Ordinary},
		{"billing", "charge"}:       {Send, high, Financial},
		{"kubernetes", "deploy-it"}: {Remove, high, Provisioning},
		{"frobnicate", ""}:          {"", high, Ordinary},
		{"", ""}:                    {"", high, Ordinary},
	}
	for name, want := range tests {
		if got := Of(name[0], name[1]); got != want {
			t.Errorf("%q %q: got %v, want %v", name[0], name[1], got, want)
		}
	}
}

// FuzzOf: whatever a name holds, it has a class, and a read is never of a kind that needs two approvers.
func FuzzOf(f *testing.F) {
	f.Add("sendMoney", "")
	f.Add("\xffget_Ünïcode", "list")
	f.Fuzz(func(t *testing.T, tool, operation string) {
		act := Of(tool, operation)
		if act.Consequence == 0 || act.Verb == Read && act.Kind != Ordinary {
			t.Errorf("%q %q: %v", tool, operation, act)
		}
	})
}

// FuzzVerb: the verb of a name is the first of its words that is one.
func FuzzVerb(f *testing.F) {
	for _, seed := range []string{"sendMoney", "crm.read_contact", "\xffget_Ünïcode", "İsend", "reSend MAIL", "a long name that never ends and says at last delete"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		want := ""
		for _, word := range words(name) {
			if want == "" {
				want = verbs[word]
			}
		}
		if got := Verb(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	})
}
