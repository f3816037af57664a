"""ITK's global objects, made while one thread runs.

ITK makes each of them when it is first needed, and enters it into a map that no lock protects (`itk::SingletonIndex`;
ITK's issue 5493, not repaired in 5.4.7). Two threads that use SimpleITK for the first time at the same moment can break
that map, and the process dies of SIGSEGV. This is rare. Once all are made, threads only look them up.
"""

import SimpleITK as sitk


def make_itk_globals() -> None:
    """Use SimpleITK once in each way that makes global objects; takes about 7 ms, and nothing when called again."""
    sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ImageFileReader().GetRegisteredImageIOs()  # one reader of each format, as reading a file makes them
    filtering = sitk.FlipImageFilter()  # any filter
    filtering.SetNumberOfWorkUnits(1)  # or its own two threads would make them at once
    filtering.Execute(sitk.Image([2, 2, 2], sitk.sitkUInt8))
