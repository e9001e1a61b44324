package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
)

// request makes the request that tells a receiver.
func (r *Receiver) request(ctx context.Context, n *Notification, now time.Time) (*http.Request, error) {
	s, err := r.secrets()
	if err != nil {
		return nil, err
	}
	address := s.url
	if r.Kind == kindAlertmanager {
		address = strings.TrimSuffix(address, "/") + "/api/v2/alerts"
	}
	body, err := json.Marshal(r.body(n, s.secret))
	if err != nil {
		return nil, fmt.Errorf("encode notification: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("receiver %s: its url is none", r.Name)
	}
	request.Header.Set("Content-Type", "application/json")
	switch {
	case r.Kind == kindWebhook:
		k, err := signingKey(s.secret)
		if err != nil {
			return nil, err
		}
		k.sign(request, n.ID, body, now)
	case r.Kind == kindAlertmanager && s.secret != "":
		request.Header.Set("Authorization", "Bearer "+s.secret)
	}
	return request, nil
}

// body is what is sent.
func (r *Receiver) body(n *Notification, secret string) any {
	switch r.Kind {
	case kindSlack:
		return slackBody(n)
	case kindPagerDuty:
		return pagerDutyBody(n, secret)
	case kindAlertmanager:
		return alertmanagerBody(n)
	}
	return webhookBody(n)
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// webhookBody is the payload that Standard Webhooks recommends: type, timestamp, data.
func webhookBody(n *Notification) any {
	return map[string]any{
		"type": "custody." + string(n.Kind), "timestamp": stamp(n.At),
		"data": map[string]any{
			"id": n.ID, "key": n.Key, "tenant": string(n.Tenant), "severity": string(n.Severity), "title": n.Title, "target": n.Target,
			"detail": n.Detail, "resolved": n.Resolved, "commands": n.Commands,
		},
	}
}

// slackCode takes the meaning from what means something between back quotes
// (https://docs.slack.dev/messaging/formatting-message-text).
var slackCode = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'")

// slackBody is an incoming webhook's (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks). All that others wrote
// stands between back quotes, where it is no link and mentions nobody.
func slackBody(n *Notification) any {
	lines := append([]string{n.Title, n.Detail, ""}, n.Commands...)
	return map[string]any{"text": fmt.Sprintf("*Custody: %s* (tenant %s)\n```\n%s\n```", n.Severity, n.Tenant, slackCode.Replace(strings.Join(lines, "\n")))}
}

// maxKey is the length of a dedup_key in bytes, and maxSummary that of a summary in characters.
const (
	maxKey     = 255
	maxSummary = 1024
)

// pagerDutyBody is an event of the Events API v2 (https://developer.pagerduty.com/docs/events-api-v2/trigger-events/).
func pagerDutyBody(n *Notification, routingKey string) any {
	action := "trigger"
	if n.Resolved {
		action = "resolve"
	}
	return map[string]any{
		"routing_key": routingKey, "event_action": action, "dedup_key": dedupKey(n.Key), "client": "custody",
		"payload": map[string]any{
			"summary": event.Cut(n.Title, maxSummary), "source": n.source(), "severity": string(n.Severity),
			"timestamp": stamp(n.At), "component": n.Target, "group": string(n.Tenant), "class": string(n.Kind),
			"custom_details": map[string]any{"detail": n.Detail, "next": n.Commands, "id": n.ID},
		},
	}
}

// dedupKey is a key that fits. Keys that are too long and differ at their end, as those of derived credentials do, stay different.
func dedupKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return event.Cut(key, maxKey-1-2*len(sum)) + "/" + hex.EncodeToString(sum[:])
}

// source is never empty: PagerDuty refuses an event without.
func (n *Notification) source() string {
	if n.Target == "" {
		return "custody"
	}
	return n.Target
}

// alertmanagerBody is a list of one alert (https://prometheus.io/docs/alerting/latest/alerts_api/). It ends when it is resolved, or when
// it is too old to be sent again.
func alertmanagerBody(n *Notification) any {
	ends := n.At + int64(mostAge)
	if n.Resolved {
		ends = n.At
	}
	starts := n.At
	if n.Resolved {
		starts--
	}
	return []any{map[string]any{
		"labels": map[string]string{
			"alertname": "Custody", "kind": n.alertKind(), "tenant": string(n.Tenant), "target": n.Target, "key": n.Key,
		},
		"annotations": map[string]string{
			"summary": n.Title, "description": n.Detail, "next": strings.Join(n.Commands, "\n"), "severity": string(n.Severity), "id": n.ID,
		},
		"startsAt": stamp(starts), "endsAt": stamp(ends),
	}}
}

// alertKind is what the key is of: labels tell alerts apart, and the end of one has those of its beginning.
func (n *Notification) alertKind() string {
	kind, _, _ := strings.Cut(n.Key, "/")
	return kind
}
