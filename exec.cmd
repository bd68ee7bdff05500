@rem The shell of Windows has no exec, which `npm start` needs elsewhere so that signals reach the gateway.
@%*
