package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/policyfile"
)

type exportCommand struct {
	access `embed:""`
	Policy string `help:"Which policy: draft (what people edit) or active (what is provisioned)." enum:"draft,active" default:"draft"`
	File   string `help:"Write there in place of standard output." short:"f" placeholder:"FILE"`
}

// Run writes the console's policy as YAML.
func (c *exportCommand) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	version := api.Draft
	if c.Policy == "active" {
		version = api.Active
	}
	policy, err := policyfile.Export(ctx, client, version)
	if err != nil {
		return err
	}
	for _, note := range policy.Notes {
		fmt.Fprintln(os.Stderr, "note:", note)
	}
	if c.File == "" {
		return policy.Write(os.Stdout)
	}
	file, err := os.Create(c.File)
	if err != nil {
		return err
	}
	return errors.Join(policy.Write(file), file.Close())
}

type importCommand struct {
	Files     []string `arg:"" help:"Files with the policy, together; - for standard input."`
	access    `embed:""`
	Prune     bool   `help:"Delete what the files do not have, of the kinds that they have a section for."`
	DryRun    bool   `help:"Only say what would be done."`
	Provision bool   `help:"Make active what the files are about."`
	Message   string `help:"What is said of the version that is provisioned." short:"m" default:"pce import"`
	Output    string `help:"Output: table or json." short:"o" enum:"table,json" default:"table"`
}

// outcome is what import prints as JSON.
type outcome struct {
	*policyfile.Plan
	DryRun      bool                    `json:"dry_run"`
	Provisioned *policyfile.Provisioned `json:"provisioned,omitempty"`
	Error       string                  `json:"error,omitempty"`
}

// Run brings the console's policy to what the files say.
func (c *importCommand) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	files, err := read(c.Files)
	if err != nil {
		return err
	}
	wanted, err := policyfile.Parse(files)
	if err != nil {
		return err
	}
	plan, err := policyfile.NewPlan(ctx, client, wanted, c.Prune)
	if err != nil {
		return err
	}
	out := outcome{Plan: plan, DryRun: c.DryRun}
	if c.Output == "table" {
		if err := plan.WriteTable(os.Stdout); err != nil {
			return err
		}
	}
	notes := len(plan.Notes)
	var failed error
	if !c.DryRun {
		out.Provisioned, failed = plan.Apply(ctx, c.Provision, c.Message)
	}
	if c.Output == "json" {
		if failed != nil {
			out.Error = failed.Error()
		}
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return errors.Join(failed, encoder.Encode(out))
	}
	return errors.Join(failed, c.say(out, plan.Notes[notes:]))
}

// say tells people what was done.
func (c *importCommand) say(out outcome, notes []string) (err error) {
	done := 0
	for _, change := range out.Changes {
		if change.Done {
			done++
		}
	}
	for _, note := range notes {
		_, err = fmt.Println("note:", note)
	}
	switch {
	case c.DryRun:
		_, err = fmt.Println("dry run: nothing was done")
	case out.Provisioned != nil:
		_, err = fmt.Printf("%d of %d done; provisioned as version %d\n", done, len(out.Changes), out.Provisioned.Version)
	case c.Provision:
		_, err = fmt.Printf("%d of %d done; nothing to provision\n", done, len(out.Changes))
	case done > 0:
		_, err = fmt.Printf("%d of %d done; what is versioned is a draft until it is provisioned\n", done, len(out.Changes))
	}
	return err
}

func read(names []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		var err error
		if name == "-" {
			files["standard input"], err = io.ReadAll(os.Stdin)
		} else {
			files[name], err = os.ReadFile(name)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
