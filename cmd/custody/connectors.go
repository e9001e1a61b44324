package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/connector"
)

// connectorPatience bounds the trial of all connectors.
const connectorPatience = 10 * time.Second

// connectorsFile is where connectors stand unless serve was told otherwise.
const connectorsFile = "connectors.yaml"

// checkConnectors tries every connector without harm: its file, its rights, and its probe on the live credential.
func (a *app) checkConnectors(ctx context.Context) []finding {
	if a.server != "" || !a.isFolder() {
		return nil
	}
	path := a.path(connectorsFile)
	if last, err := a.loadSettings(); err == nil && last.Connectors != "" {
		path = last.Connectors
	}
	list, err := connector.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == a.path(connectorsFile):
		return []finding{{"connectors", partOK, "none: no credential can be revoked from here", ""}}
	case err != nil:
		return []finding{{"connectors", partFail, err.Error(), "docs/OPERATIONS.md, Connectors"}}
	}
	ctx, cancel := context.WithTimeout(ctx, connectorPatience)
	defer cancel()
	findings := make([]finding, len(list))
	var work sync.WaitGroup
	for i := range list {
		work.Go(func() { findings[i] = tryConnector(ctx, &list[i]) })
	}
	work.Wait()
	return findings
}

// tryConnector is what comes of trying one.
func tryConnector(ctx context.Context, c *contain.Connector) finding {
	x, err := c.Exercise(ctx)
	f := finding{Part: "connectors", State: partOK, Detail: fmt.Sprintf("%s: %s; would %s", c.Name, x.Evidence, strings.Join(x.Would, "; "))}
	switch {
	case err != nil:
		f.State, f.Detail, f.Next = partFail, c.Name+": "+oneLine(err), "docs/OPERATIONS.md, Connectors"
	case x.Found == contain.Dead:
		f.State, f.Next = partWarn, "issue a new credential, to the agent and in the connector's file, when the case is closed"
	}
	return f
}
