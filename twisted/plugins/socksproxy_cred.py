"""
Kinds of C{--auth}, for every program on L{twisted.cred.strcred}.
"""

from importlib import import_module

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(ICheckerFactory, IPlugin)
class Checkers:
    """
    A kind whose module is imported when somebody wants it.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, authType, argStringFormat, authHelp):
        self.authType = authType
        self.argStringFormat = argStringFormat
        self.authHelp = authHelp

    def generateChecker(self, argstring):
        try:
            module = import_module(f"socksproxy.auth.{self.authType}")
            return module.checkerFor(argstring)
        except (ImportError, ValueError) as wrong:
            raise InvalidAuthArgumentString(str(wrong)) from None


htpasswd = Checkers(
    "htpasswd",
    "Path of a file as htpasswd -B writes it.",
    """
Each line of the file is user:hash, with a hash of bcrypt (htpasswd -B), argon2id
(python -m socksproxy.auth.htpasswd) or SHA-512 crypt (mkpasswd -m sha-512, openssl
passwd -6). Others are too weak and refused. A file that has changed is read again
at the next login; if it cannot be used the users before stay, and the log says why.
Wants: pip install 'socksproxy[passwords]'
""",
)

pam = Checkers(
    "pam",
    "Name of a PAM service, a file in /etc/pam.d.",
    """
PAM is asked for the password (auth) and whether the user may log in now (account),
so whatever it has a module for can be used: LDAP, RADIUS, Kerberos, the system's
own users. No session is opened.
Wants: pip install 'socksproxy[pam]'
""",
)
