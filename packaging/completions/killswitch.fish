# Completion of killswitch for fish.

function __killswitch_policies
    killswitch policy list 2>/dev/null | string match --regex --groups-only '^(\S+)'
end

# Whether the words of the subcommand are the ones given: __killswitch_in policy list
function __killswitch_in
    set --local words (commandline --tokenize --cut-at-cursor --current-process)[2..]
    set --local depth (count $argv)
    test (count $words) -ge $depth; and test "$words[1..$depth]" = "$argv"
end

complete -c killswitch -f
complete -c killswitch -s h -l help -d 'Print the usage'
complete -c killswitch -n __fish_use_subcommand -l version -d 'Print the version'

complete -c killswitch -n __fish_use_subcommand -a enable -d 'Lock this machine'
complete -c killswitch -n __fish_use_subcommand -a confirm -d 'Keep a lock that is on trial'
complete -c killswitch -n __fish_use_subcommand -a disable -d 'Give the network back'
complete -c killswitch -n __fish_use_subcommand -a status -d 'Say what the kernel was seen to hold'
complete -c killswitch -n __fish_use_subcommand -a rules -d 'Print the rules that the kernel holds'
complete -c killswitch -n __fish_use_subcommand -a explain -d 'Say what the rules do with a packet, and why'
complete -c killswitch -n __fish_use_subcommand -a test -d 'Try every way out of this machine'
complete -c killswitch -n __fish_use_subcommand -a blocked -d 'Say what was refused'
complete -c killswitch -n __fish_use_subcommand -a connect -d 'Lock if needed, then start OpenVPN'
complete -c killswitch -n __fish_use_subcommand -a policy -d 'List, show or check policies'
complete -c killswitch -n __fish_use_subcommand -a hook -d 'Called by other programs'

complete -c killswitch -n '__killswitch_in enable' -l config -r -F -d 'OpenVPN profile'
complete -c killswitch -n '__killswitch_in enable' -l server -x -d 'VPN server: HOST:PORT/udp|tcp'
complete -c killswitch -n '__killswitch_in enable' -l networkmanager -x -d 'VPN connection of NetworkManager'
complete -c killswitch -n '__killswitch_in enable' -l interface -x -a '(__fish_print_interfaces)' -d 'Only this interface may be the tunnel'
complete -c killswitch -n '__killswitch_in enable' -l transport-program -r -F -d 'Helper that carries OpenVPN: PATH or PATH:USER'
complete -c killswitch -n '__killswitch_in enable' -l policy -r -F -a '(__killswitch_policies)' -d 'What else may leave'
complete -c killswitch -n '__killswitch_in enable' -l try -x -d 'Revert after this time unless confirmed'
complete -c killswitch -n '__killswitch_in enable' -l yes -d 'Also when it cuts this SSH session'
complete -c killswitch -n '__killswitch_in enable' -l offline -d 'Straight into the kernel'
complete -c killswitch -n '__killswitch_in enable' -l json -d 'Print the status as JSON'

complete -c killswitch -n '__killswitch_in confirm' -l json -d 'Print the status as JSON'

complete -c killswitch -n '__killswitch_in disable' -l offline -d 'Straight out of the kernel'
complete -c killswitch -n '__killswitch_in disable' -l json -d 'Print the status as JSON'

complete -c killswitch -n '__killswitch_in status' -l json -d 'Print JSON'
complete -c killswitch -n '__killswitch_in status' -l watch -d 'Go on and print every change'

complete -c killswitch -n '__killswitch_in rules' -l json -d 'Print JSON'

complete -c killswitch -n '__killswitch_in explain' -l json -d 'Print JSON'
complete -c killswitch -n '__killswitch_in test' -l json -d 'Print JSON'

complete -c killswitch -n '__killswitch_in blocked' -l follow -d 'Go on, and print each packet'
complete -c killswitch -n '__killswitch_in blocked' -l json -d 'Print JSON'

complete -c killswitch -n '__killswitch_in connect' -F
complete -c killswitch -n '__killswitch_in connect' -l yes -d 'Also when it cuts this SSH session'
complete -c killswitch -n '__killswitch_in connect' -l policy -r -F -a '(__killswitch_policies)' -d 'What else may leave'

complete -c killswitch -n '__killswitch_in policy; and not __fish_seen_subcommand_from list show check' -a list -d 'The policies that --policy may name'
complete -c killswitch -n '__killswitch_in policy; and not __fish_seen_subcommand_from list show check' -a show -d 'Print a policy'
complete -c killswitch -n '__killswitch_in policy; and not __fish_seen_subcommand_from list show check' -a check -d 'Say whether a policy file is valid'
complete -c killswitch -n '__killswitch_in policy list' -l json -d 'Print JSON'
complete -c killswitch -n '__killswitch_in policy show' -F -a '(__killswitch_policies)'
complete -c killswitch -n '__killswitch_in policy check' -F

complete -c killswitch -n '__killswitch_in hook; and not __fish_seen_subcommand_from networkmanager' -a networkmanager -d 'For the dispatcher of NetworkManager'
