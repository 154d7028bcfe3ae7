package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/app"
	"postern/internal/fault"
	"postern/internal/people"
	"postern/internal/web"
)

func newUsers(c *cli) *cobra.Command {
	return group("users", "Who may use the web pages",
		newUsersList(c), newUsersAdd(c), newUsersRole(c), newUsersDisable(c, true), newUsersDisable(c, false), newUsersSessions(c), newUsersCodes(c))
}

// roles are all of them, for help texts.
func roles() string {
	var words []string
	for _, r := range people.Roles() {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

func newUsersList(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users: role, how they log in, and when they last did",
		Example: "  postern users list --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				all, err := a.People.Users(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					if all == nil {
						all = []people.User{}
					}
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "USER\tMAIL\tROLE\tSTATE\tONE-TIME CODES\tLAST LOGIN", func(line func(...string)) {
					for _, u := range all {
						line(u.Name, orDash(u.Mail), string(u.Role), userState(u), onOff(u.TOTP), when(u.LastLogin))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// userState says how somebody comes in.
func userState(u people.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.External != "":
		return "provider"
	case u.Hash != "":
		return "password"
	case u.Invite != "":
		return "invited"
	}
	return "no login yet"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func newUsersAdd(c *cli) *cobra.Command {
	var n people.NewUser
	var role, way string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, and print once what lets them in",
		Long: `Prints a link with which the user chooses a password (--by link, works once, within
two days), or a password (--by password). With --by provider the user signs in with
the OpenID provider, by the mail address.`,
		Example: "  postern users add jane --role operator --mail jane@contoso.com\n  postern users add bob --role viewer --by password",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			n.Name, n.Role, n.Way = name[0], people.Role(role), people.Way(way)
			return c.with(cmd.Context(), func(a *app.App) error {
				_, text, err := a.People.Add(cmd.Context(), who(), n)
				if err != nil || n.Way == people.Elsewhere {
					return err
				}
				_, _ = fmt.Fprintln(c.stderr, "this is shown once")
				if n.Way == people.ByLink {
					_, err = fmt.Fprintln(c.stdout, a.Config.PublicURL.String()+web.WelcomePath+text.Reveal())
				} else {
					_, err = fmt.Fprintln(c.stdout, text.Reveal())
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", string(people.Viewer), "what the user may do: "+roles())
	cmd.Flags().StringVar(&n.Mail, "mail", "", "mail address, which logs in as well as the name")
	cmd.Flags().StringVar(&way, "by", string(people.ByLink), "how the user comes in: link, password, provider")
	return cmd
}

func newUsersRole(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "role NAME ROLE",
		Short:   "Give a user another role, at once: " + roles(),
		Example: "  postern users role jane admin",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				return a.People.SetRole(cmd.Context(), who(), given[0], people.Role(given[1]))
			})
		},
	}
}

func newUsersDisable(c *cli, disable bool) *cobra.Command {
	word, short := "disable", "Shut a user out, at once and everywhere"
	if !disable {
		word, short = "enable", "Let a disabled user in again"
	}
	return &cobra.Command{
		Use:     word + " NAME",
		Short:   short,
		Example: "  postern users " + word + " jane",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				return a.People.Disable(cmd.Context(), who(), name[0], disable)
			})
		},
	}
}

func newUsersSessions(c *cli) *cobra.Command {
	var asJSON, end bool
	cmd := &cobra.Command{
		Use:     "sessions NAME",
		Short:   "List where a user is logged in, or end it all",
		Example: "  postern users sessions jane\n  postern users sessions jane --end",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			if end && asJSON {
				return fault.New(fault.Invalid, "sessions", "--end and --json exclude each other")
			}
			return c.with(cmd.Context(), func(a *app.App) error {
				u, err := a.People.Find(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				if end {
					n, err := a.People.EndSessions(cmd.Context(), who(), u, "")
					if err == nil {
						_, err = fmt.Fprintf(c.stdout, "%d ended\n", n)
					}
					return err
				}
				all, err := a.People.Sessions(cmd.Context(), u.ID)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.stdout, all)
				}
				return table(c.stdout, "SINCE\tLAST SEEN\tADDRESS\tBROWSER", func(line func(...string)) {
					for _, s := range all {
						line(when(s.Created), when(s.Seen), s.Address, s.Browser)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&end, "end", false, "end all of them")
	return cmd
}

func newUsersCodes(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "reset-codes NAME",
		Short:   "Turn one-time codes off for somebody who lost the app and the recovery codes",
		Example: "  postern users reset-codes jane",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, name []string) error {
			return c.with(cmd.Context(), func(a *app.App) error {
				u, err := a.People.Find(cmd.Context(), name[0])
				if err != nil {
					return err
				}
				return a.People.EndTOTP(cmd.Context(), who(), u)
			})
		},
	}
}
