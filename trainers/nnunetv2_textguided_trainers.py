"""What nnU-Net's trainer lookup imports: names only.

nnU-Net drops every module under this folder from sys.modules after the search. The classes live in the installed
package, so there is only ever one of each.
"""

from nnunetv2_textguided.training import *  # noqa: F403
