package main

import (
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/spf13/cobra"
)

// providersFlag is the value of --providers.
type providersFlag []modelpkg.Provider

// String implements pflag.Value.
func (f *providersFlag) String() string { return modelpkg.ProviderNames(*f) }

// Type implements pflag.Value.
func (*providersFlag) Type() string { return "list" }

// Set implements pflag.Value.
func (f *providersFlag) Set(text string) error {
	list, err := modelpkg.ParseProviders(strings.Split(text, ","))
	if err != nil {
		return err
	}
	*f = list
	return nil
}

// addProvidersFlag adds the flag for the execution providers that run graphs.
func addProvidersFlag(cmd *cobra.Command, list *[]modelpkg.Provider) {
	cmd.Flags().Var((*providersFlag)(list), "providers",
		"execution providers of ONNX Runtime, in order of preference, such as openvino,cpu; known: "+modelpkg.ProviderNames(modelpkg.Providers()))
}
