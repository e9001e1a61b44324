package mcp

import (
	"time"

	"github.com/agentcustody/custody/event"
)

// Limits of a session.
const (
	// MaxMessage is the size of a message in bytes: what is longer could not be recorded whole.
	MaxMessage = event.MaxObject
	// maxDepth is how deep JSON may nest: more than any schema, and far from what exhausts a recursive parser behind us.
	maxDepth = 128
	// maxAsked is how many requests of the client, and how many of the server, may wait for their answer.
	maxAsked = 1024
	// maxTools and maxPages bound a list of tools.
	maxTools, maxPages = 4096, 64
	// maxAwaiting is how many calls may wait for the client to give the input that the server wants; the oldest is forgotten.
	maxAwaiting = 256
	// maxRuns is how many runs of the agent are kept apart at a time; the oldest is forgotten, and begins anew.
	maxRuns = 256
	// listPatience is how long the server may take to list its tools before a call that waits for that.
	listPatience = 10 * time.Second
	// endPatience is how long the server may take to end by itself, and then to obey a signal.
	endPatience = 5 * time.Second
)
