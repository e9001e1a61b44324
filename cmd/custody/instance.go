package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"gopkg.in/yaml.v3"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// instanceCommand manages instances.
func (a *app) instanceCommand() *cobra.Command {
	return group("instance", "Create instances: labels, and a manifest of what each may do", a.instanceCreate())
}

// maxManifestFile bounds a manifest file, in bytes: a thousand permissions with room to spare.
const maxManifestFile = 1 << 20

// manifestFile is the YAML of --manifest.
type manifestFile struct {
	Manifest []permissionLine `yaml:"manifest"`
}

// permissionLine is one permission: what, by which tool, on which resource, with which consequence.
type permissionLine struct {
	Verb        string `yaml:"verb"`
	Tool        string `yaml:"tool"`
	Resource    string `yaml:"resource"`
	Connector   string `yaml:"connector"`
	Consequence string `yaml:"consequence"`
}

// instanceFlags are the flags of instance create.
type instanceFlags struct {
	labels   eventv1.Labels
	named    []string // labels that were given
	manifest string
	allow    []string
}

func (a *app) instanceCreate() *cobra.Command {
	var f instanceFlags
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "create TENANT/INSTANCE",
		Short: "Create an instance, or change its labels or manifest",
		Long: "Create an instance, or change its labels or manifest. Without a manifest no event of the instance is accepted. Labels\n" +
			"that are not given stay as they are; a manifest is replaced as a whole.\n\n" +
			"A manifest file is YAML:\n\n" +
			"  manifest:\n" +
			"    - {verb: read,  tool: 'crm.*',      consequence: low}\n" +
			"    - {verb: write, tool: update_ticket, consequence: moderate}\n" +
			"    - {verb: send,  tool: send_email, resource: '*@acme.example', consequence: high}\n\n" +
			"Verbs: read, write, send, approve, trigger. Consequences: low, moderate, high.",
		Example: "  custody instance create acme/support-1 --client acme --owner support --allow 'read:crm.*:low' --allow send:send_email:high\n" +
			"  custody instance create acme/support-1 --manifest support.yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.firstInstance,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			f.named = givenLabels(cmd.Flags().Changed)
			req, err := f.request(args[0])
			if err != nil {
				return err
			}
			resp, err := apiv1.NewAdminServiceClient(conn).CreateInstance(ctx, req)
			if err != nil {
				return err
			}
			return a.say(object{{"tenant", req.GetTenant()}, {"instance", req.GetInstance()}, {"manifest_version", resp.GetManifestVersion()}},
				"instance %s: manifest version %d\n", args[0], resp.GetManifestVersion())
		}),
	}
	f.register(cmd)
	return cmd
}

func (f *instanceFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.labels.Client, "client", "", "customer or department served")
	fl.StringVar(&f.labels.Owner, "owner", "", "team that answers for the instance")
	fl.StringVar(&f.labels.OnCall, "on-call", "", "whom to page")
	fl.StringVar(&f.labels.Environment, "environment", "", "production, staging, …")
	fl.StringSliceVar(&f.labels.Regulation, "regulation", nil, "what applies, for example gdpr")
	fl.BoolVar(&f.labels.Canary, "canary", false, "it is there to be stopped in drills")
	fl.StringVar(&f.manifest, "manifest", "", "manifest file (YAML)")
	fl.StringArrayVar(&f.allow, "allow", nil, "one permission, VERB:TOOL:CONSEQUENCE (repeatable)")
}

// request builds the call from the flags.
func (f *instanceFlags) request(name string) (*apiv1.CreateInstanceRequest, error) {
	tenant, instance, err := splitInstance(name)
	if err != nil {
		return nil, err
	}
	source, lines, err := f.permissions()
	if err != nil {
		return nil, err
	}
	req := &apiv1.CreateInstanceRequest{Tenant: tenant, Instance: instance}
	if len(f.named) > 0 {
		req.Labels, req.LabelNames = &f.labels, f.named
	}
	for i, l := range lines {
		p, err := l.permission()
		if err != nil {
			return nil, inputError(fmt.Errorf("manifest[%d].%w", i, err), "custody instance create --help")
		}
		req.Permissions = append(req.Permissions, p)
	}
	if source != nil {
		digest := sha256.Sum256(source)
		req.ManifestDigest = digest[:]
	}
	return req, nil
}

// labelFlags are the flags that are labels; their fields have _ for -.
var labelFlags = []string{"client", "owner", "on-call", "environment", "regulation", "canary"}

// givenLabels names the labels of the command line.
func givenLabels(given func(flag string) bool) (named []string) {
	for _, flag := range labelFlags {
		if given(flag) {
			named = append(named, strings.ReplaceAll(flag, "-", "_"))
		}
	}
	return named
}

// permissions reads the manifest file and the --allow flags; source is what the manifest's digest is over.
func (f *instanceFlags) permissions() (source []byte, lines []permissionLine, err error) {
	if f.manifest != "" {
		if source, lines, err = readManifest(f.manifest); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range f.allow {
		parts := strings.Split(s, ":")
		if len(parts) != 3 {
			return nil, nil, usageError("--allow %q: want VERB:TOOL:CONSEQUENCE", s)
		}
		lines = append(lines, permissionLine{Verb: parts[0], Tool: parts[1], Consequence: parts[2]})
		source = append(source, s+"\n"...)
	}
	return source, lines, nil
}

// readManifest reads a manifest file strictly: an unknown key is an error.
func readManifest(path string) ([]byte, []permissionLine, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest: %w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxManifestFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(raw) > maxManifestFile {
		return nil, nil, inputError(fmt.Errorf("manifest %s: longer than %d bytes", path, maxManifestFile), "custody instance create --help")
	}
	var m manifestFile
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	err = dec.Decode(&m)
	if next := dec.Decode(new(any)); err == nil && !errors.Is(next, io.EOF) {
		err = errors.New("more than one document")
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("empty")
	}
	if err != nil {
		return nil, nil, inputError(fmt.Errorf("manifest %s: %w", path, err), "custody instance create --help")
	}
	return raw, m.Manifest, nil
}

// permission checks one line and names the field that is wrong.
func (l permissionLine) permission() (*eventv1.Permission, error) {
	verb, err := parseName(event.PermissionVerbs, l.Verb)
	if err != nil {
		return nil, fmt.Errorf("verb: %w", err)
	}
	consequence, err := parseName(event.Consequences, l.Consequence)
	if err != nil {
		return nil, fmt.Errorf("consequence: %w", err)
	}
	if l.Tool == "" && l.Resource == "" && l.Connector == "" {
		return nil, errors.New("tool: missing; * stands for any")
	}
	return &eventv1.Permission{Verb: verb, Tool: l.Tool, Resource: l.Resource, Connector: l.Connector, Consequence: consequence}, nil
}

// splitInstance takes TENANT/INSTANCE apart.
func splitInstance(name string) (tenant, instance string, err error) {
	tenant, instance, ok := strings.Cut(name, "/")
	if !ok || tenant == "" || instance == "" {
		return "", "", usageError("%q: want TENANT/INSTANCE", name)
	}
	return tenant, instance, nil
}
